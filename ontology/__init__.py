"""The Cell Ontology as a frozen integer index."""
