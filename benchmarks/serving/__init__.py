"""What serving costs next to the back-end called directly; each module is one back-end."""
