"""Features of a checkpoint: planned from its configuration (`feature_plan`), loaded (`load`), run (`extractor`).

What reads texts, images or both is in `text`, `images`, `image_text` and `text_pairs`; what is pooled, in `pooling` and
`fusion`. Importing `architectures`, `feature_plan` and `files` imports no torch.
"""
