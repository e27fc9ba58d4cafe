"""HashiCorp's configuration language (HCL 2): parser and evaluator without I/O, which import nothing of the product."""
