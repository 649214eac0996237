"""The real product against people who try: raw bytes, forged hosts and headers, real application servers."""
