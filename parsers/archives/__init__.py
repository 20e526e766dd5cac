"""What is no disk and no file system, and is found in their place: archives, firmware and boot images."""
