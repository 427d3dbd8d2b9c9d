"""The renderer behind `data/datasets/streets.py`: numpy and OpenCV only, one core, frames a pure function of their key.

Reading order: `render.py` (one frame, top to bottom), `route.py` (where the street and the camera go), `roadside.py`,
`junction.py` and what they call (what stands where), `traffic.py` (what moves), `view.py` and `raster.py` (which
surface each sample sees), `shade.py` (what colour it has).

Axes everywhere: x right, y down, z forward, metres; the ground is y = 0. Builders of shapes take (right, up, forward).
"""
