"""What is wrong with a set of images: what is there (`sources`), what each image is (`look`), what is found (`checks`,
`alike`), by which names (`kinds`), and the set without it (`rest`).
"""
