"""Jobs: pictures that outlive the request that asks for them, and the gateway that was asked."""
