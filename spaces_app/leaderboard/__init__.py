"""The leaderboard Space, in small modules: data (store, facts), views (table, across, …), page and endpoints.

A Space runs this folder by itself: torch and transformers are not there, and of hf_emms only the modules
that `hf_emms.publish.space` ships with it.
"""
