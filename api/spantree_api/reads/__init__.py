"""What is read of the database, one module for each topic; what is about one trace is in `reader.py`."""
