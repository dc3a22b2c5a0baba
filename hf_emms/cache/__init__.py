"""A cache of results on disk. A key names everything that changes its result."""

from hf_emms.cache.store import NO_CACHE, Cache, Key, cache_key, default_root, digest_of

__all__ = ["NO_CACHE", "Cache", "Key", "cache_key", "default_root", "digest_of"]
