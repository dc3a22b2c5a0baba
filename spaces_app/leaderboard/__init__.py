"""The leaderboard Space, in small modules: data (store, facts), views (table, across, …), page and endpoints.

A Space runs this folder without torch and transformers. Of hf_emms it has only the modules that
`hf_emms.publish.space` ships with it.
"""
