"""From run folders to tables, figures and a page: ``retdm report <folders>``."""
