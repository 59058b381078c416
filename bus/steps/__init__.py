"""The steps of routes.yaml, one file each, found by name: ``bus/steps/trace.py`` is ``trace:``.

A module defines ``Options`` (a pydantic model; its field descriptions are the documentation) and ``build(options, site) -> Step``. All
files, keys and expressions are ready when ``build`` returns; the step itself does no I/O, reads no clock and keeps no state.
"""
