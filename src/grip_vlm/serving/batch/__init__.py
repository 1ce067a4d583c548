"""Many questions about images in files, answered by a pool of workers into a folder of Parquet files."""
