"""One promise over random schemas and random work: what is quiet is equal, or said to be different and why."""
