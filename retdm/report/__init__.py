"""From run folders to tables, figures and a page: ``python -m retdm report <folders>``."""
