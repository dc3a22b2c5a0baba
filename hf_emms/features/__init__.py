"""Features of a checkpoint: planned from its configuration (`extraction_plan`), loaded (`load`), run (`extractor`).

Their states are pooled by `pooling` and `fusion`, their inputs read by `hf_emms.inputs`. Importing `architectures`,
`extraction_plan`, `checkpoint_files` and `extractor` imports no torch.
"""
