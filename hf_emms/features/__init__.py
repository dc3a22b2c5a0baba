"""Features of a checkpoint: planned from its configuration (`extraction_plan`), loaded (`load`), run (`extractor`).

What is pooled is in `pooling` and `fusion`; how inputs are read, in `hf_emms.inputs`. Importing `architectures`,
`extraction_plan`, `checkpoint_files` and `extractor` imports no torch.
"""
