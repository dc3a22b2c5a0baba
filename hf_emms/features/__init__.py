"""Features of a checkpoint: planned from its configuration (`feature_spec`), loaded (`load`), run (`extractor`).

Their states are pooled by `pooling` and `fusion`, their inputs read by `hf_emms.inputs`. Importing `architectures`,
`feature_spec`, `checkpoint_files` and `extractor` imports no torch.
"""
