"""What commands print and write: tables, predictions, a page, and streams that outlive their readers."""
