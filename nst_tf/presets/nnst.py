"""NNST: neighbours of hypercolumns, Adam on a Laplacian pyramid, the photo's colours moved.

Source: nkolkin13/NeuralNeighborStyleTransfer, `utils/stylize.py`, with its defaults (NNST-Opt).

    nst-stylize --preset=nnst --content=photo.jpg --style=painting.jpg

Expect the photo's shapes made of pieces of the painting, crisp at every scale, in few colours that
follow the photo's. --color=style shows the picture before its colours are moved. --match_share=0.5
is bolder. A last pass of --final_steps=200 compares each layer by itself; with --final_fault=False
it does so at the deepest layers, too, which the program misses at 512 pixels. For another
--image_size, give --levels and --steps to match, such as --image_size=256 --levels=3
--steps=200,200,200.
"""

_LAYERS = (
    "relu1_1", "relu1_2", "relu2_1", "relu2_2", "relu3_1", "relu3_2", "relu3_3", "relu4_1",
    "relu4_2", "relu4_3",
)  # fmt: skip

SETTINGS = {
    "backbone": "vgg16",
    "image_size": 512,
    "init": "content",
    "levels": 4,
    "level_factor": 2.0,
    "steps": (200, 200, 200, 200),
    "final_steps": 200,
    "final_fault": True,
    "content_layers": _LAYERS[-1:],
    "style_layers": _LAYERS,
    "match_layers": _LAYERS,
    "match_share": 0.25,
    "match_orientations": "turned",
    "match_places": 1_000_000,
    "matches": 1,
    "style_loss": "neighbour_columns",
    "content_weight": 0.0,
    "style_weight": 1.0,
    "tv_weight": 0.0,
    "color": "tint",
    "optimizer": "adam",
    "laplacian_bands": 8,
    "learning_rate": 0.002,
    "adam_epsilon": 1e-8,
    "clip_pixels": False,
}
