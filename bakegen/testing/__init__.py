"""Run the checks that manifests declare on built images."""
