"""What is kept how long, and dropping the rest: whole days of partitions, archived before."""
