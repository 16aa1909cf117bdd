"""Pictures that another picture is drawn from: how they are read and checked, and what requests get of them."""
