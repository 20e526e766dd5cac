"""What is no disk and no file system, and is found in their place: archives, firmware and boot images.

libblkid knows none of them: their TYPE is the word that their own tools or file(1) have for them, their usage
``other``. None is mounted; what they hold uncompressed is looked at like a volume.
"""
