"""The page of `glic view`, in `page`; glic_deploy serves it."""
