"""Operations on arrays: batch normalisation, convolution, pooling, noise."""
