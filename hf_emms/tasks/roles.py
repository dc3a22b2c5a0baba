"""Columns that several tasks share."""

from hf_emms.tasks.base import Role

IMAGE = Role("image", ("image", "img", "picture", "photo", "jpg", "png", "images"), ("image", "images"))
