"""Features of a checkpoint: planned from its configuration (`extraction_plan`), loaded (`load`), run (`extractor`).

What is pooled is in `pooling`, `hidden_layers` and `fusion`; how inputs are read, in `hf_emms.inputs`. Importing
`architectures`, `extraction_plan` and `checkpoint_files` imports no torch.
"""
