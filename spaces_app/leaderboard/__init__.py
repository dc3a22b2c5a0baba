"""The leaderboard Space, in small modules: data (schema, store, facts), views (table, across, …), page and endpoints.

A Space runs this folder by itself: nothing here imports torch, transformers or hf_emms.
"""
