"""Spreads a number of images over the tasks of a run, so that each image goes where it is expected to gain most.

`gains` learns what a further image gains and `waves` decides who gets one, both pure. `plan` remembers the plan between
processes, and `allotment` lets the tasks of a running bulk wait for their images.
"""
