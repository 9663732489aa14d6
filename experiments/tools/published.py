"""Published results on mode collapse, beside which our own are set. The protocol is the same, except where a row's name
or the experiment's docstring says otherwise. PacGAN counts 25,600 stacked images, here it is 26,000; VEEGAN's code for
the ring is not public.

PacGAN, arXiv:1712.04086, tables 1 to 3: mean ± standard error of 10 runs, for stacked MNIST with tiny networks of 50.
VEEGAN, arXiv:1705.07761, table 1: mean of 5. R3GAN, arXiv:2501.05441: networks of its own, larger than ours.
"""

PACGAN, VEEGAN = "PacGAN's table", "VEEGAN's table"
# Benchmark -> method, name of the kept result, published values: (modes, high quality, reverse KL, source).
COLLAPSE = {
    "ring": (
        ("GAN", "pacgan_mixtures_ring_1", ("6.3 ± 0.5", ".982 ± .002", ".45 ± .09", PACGAN)),
        ("PacGAN2", "pacgan_mixtures_ring_2", ("7.9 ± 0.1", ".956 ± .020", ".07 ± .03", PACGAN)),
        ("PacGAN3", "pacgan_mixtures_ring_3", ("7.8 ± 0.1", ".977 ± .003", ".10 ± .02", PACGAN)),
        ("PacGAN4", "pacgan_mixtures_ring_4", ("7.8 ± 0.1", ".959 ± .014", ".07 ± .02", PACGAN)),
        ("unrolled GAN, 5 steps (ours: of its authors' demonstration)", "unrolled_ring_5", ("7.6", ".356", "", VEEGAN)),
        ("VEEGAN", "", ("8", ".529", "", VEEGAN)),
        ("relativistic, R1 + R2, other networks, averaged", "gan_ring", ("", "", "", "what gan_jax recommends")),
    ),
    "grid": (
        ("GAN", "pacgan_mixtures_grid_1", ("17.3 ± 0.8", ".948 ± .007", ".70 ± .07", PACGAN)),
        ("PacGAN2", "pacgan_mixtures_grid_2", ("23.8 ± 0.7", ".913 ± .008", ".13 ± .04", PACGAN)),
        ("PacGAN3", "pacgan_mixtures_grid_3", ("24.6 ± 0.4", ".942 ± .004", ".06 ± .02", PACGAN)),
        ("PacGAN4", "pacgan_mixtures_grid_4", ("24.8 ± 0.2", ".936 ± .006", ".04 ± .01", PACGAN)),
        ("VEEGAN", "", ("24.6", ".40", "", VEEGAN)),
        ("relativistic, R1 + R2, other networks, averaged", "gan_grid", ("", "", "", "what gan_jax recommends")),
    ),
    "stacked MNIST": (
        ("GAN, tiny networks, D half of G", "stacked_mnist_4_1", ("487.7 ± 34.6", "", "2.24 ± .15", PACGAN)),
        ("PacGAN2, tiny networks, D half of G", "stacked_mnist_4_2", ("840.7 ± 15.9", "", "1.00 ± .05", PACGAN)),
        ("GAN, tiny networks, D a quarter of G", "stacked_mnist_2_1", ("78.5 ± 17.6", "", "5.21 ± .19", PACGAN)),
        ("PacGAN2, tiny networks, D a quarter of G", "stacked_mnist_2_2", ("484.5 ± 33.0", "", "2.61 ± .22", PACGAN)),
        ("GAN, DCGAN's networks, 128,000 triples", "", ("78.9 ± 6.5", "", "4.50 ± .13", PACGAN)),
        ("PacGAN2, DCGAN's networks, 128,000 triples", "", ("1,000", "", ".06 ± .003", PACGAN)),
        ("relativistic, R1 + R2, DCGAN's networks, averaged", "stacked_mnist_dcgan_64", ("", "", "", "what gan_jax recommends")),
        ("relativistic, R1 + R2, DCGAN's of half the channels, averaged", "stacked_mnist_dcgan_32", ("", "", "", "the same, on two cores")),
        ("R3GAN, ours of 32 channels", "stacked_mnist_r3gan_32", ("1,000", "", ".029", "R3GAN's table")),
    ),
}  # fmt: skip
