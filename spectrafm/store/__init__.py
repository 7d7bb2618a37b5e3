"""The Zarr store: its layout, writing it shard by shard, loading it."""
