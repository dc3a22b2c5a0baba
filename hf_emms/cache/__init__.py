"""A cache of results on disk, under keys of everything that changes them."""

from hf_emms.cache.key import Key, cache_key, digest_of
from hf_emms.cache.store import NO_CACHE, Cache, CacheEntry, default_cache, default_root

__all__ = ["NO_CACHE", "Cache", "CacheEntry", "Key", "cache_key", "default_cache", "default_root", "digest_of"]
