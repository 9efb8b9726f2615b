"""Batches: ``batch_plan`` orders the documents, ``masking`` makes tensors, ``loader`` yields them."""
