"""feature_squeezing: its median filter against SciPy, its score against the definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import median_filter as scipy_median

from defenses._median import median_filter
from defenses.feature_squeezing import FeatureSqueezing


@pytest.fixture
def images():
    x = torch.rand(6, 3, 9, 7, generator=torch.Generator().manual_seed(0))
    x[3:] = (x[3:] * 3).round() / 3  # with many equal values
    return x


@pytest.mark.parametrize("size", [2, 3])
def test_median_agrees_with_scipy(images, size):
    expected = scipy_median(images.numpy(), size=(1, 1, size, size), mode="nearest")
    np.testing.assert_array_equal(median_filter(images, size).numpy(), expected)
    np.testing.assert_allclose(median_filter(images.requires_grad_(), size).detach().numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("size", [2, 3])
def test_gradients_of_the_median_agree_with_finite_differences(images, size):
    x = images[:2].double().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: median_filter(z, size), x, eps=1e-8, atol=1e-6)


def test_gradients_of_equal_values_are_shared():
    grey = torch.full((1, 1, 5, 5), 0.5, requires_grad=True)
    median_filter(grey, 3).sum().backward()
    assert grey.grad[0, 0, 2, 2] == pytest.approx(1.0)
    assert grey.grad.sum() == pytest.approx(25.0)


def by_definition(network, x, bits, medians):
    def softmax(z):
        return network(z).softmax(1).numpy()

    steps = 2**bits - 1
    forms = [torch.tensor(np.round(x.numpy() * steps) / steps)]
    forms += [torch.tensor(scipy_median(x.numpy(), size=(1, 1, size, size), mode="nearest")) for size in medians]
    return np.max([np.abs(softmax(x) - softmax(form)).sum(1) for form in forms], axis=0)


@pytest.mark.parametrize(("bits", "medians"), [(1, ()), (3, (2, 3)), (5, (2,)), (2, (3,))])
def test_score_is_the_largest_change_of_the_softmax(digits, bits, medians):
    score = FeatureSqueezing(bits=bits, medians=medians).load({}, victim=digits.network)
    x = digits.test.x
    expected = by_definition(digits.network, x, bits, medians)
    np.testing.assert_allclose(score(x).numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(score.surrogate(x).numpy(), expected, atol=1e-5)
    assert score(x).min() >= 0
    assert score(x).max() <= 2
    torch.testing.assert_close(score(x[[5, 3]]), score(x)[[5, 3]], atol=1e-5, rtol=1e-4)


def test_only_the_surrogate_sees_through_the_rounding(digits):
    """With the victim as the only other path, the plain gradient is that of the unsqueezed answer alone."""
    score = FeatureSqueezing(bits=3, medians=()).load({}, victim=digits.network)
    plain, straight = (digits.test.x.clone().requires_grad_() for _ in range(2))
    score(plain).sum().backward()
    score.surrogate(straight).sum().backward()
    assert straight.grad.any()
    assert not torch.allclose(plain.grad, straight.grad)


@pytest.mark.parametrize("shape", [(2, 64), (2, 8, 8)])
def test_what_is_no_image_is_refused(digits, shape):
    with pytest.raises(ValueError, match="feature_squeezing takes images"):
        FeatureSqueezing().load({}, victim=digits.network)(torch.zeros(shape))


@pytest.mark.parametrize(("params", "message"), [({"bits": 0}, "1 to 16 bits"), ({"medians": (2, 5)}, "2 or 3 pixels")])
def test_senseless_parameters_are_refused(params, message):
    with pytest.raises(ValueError, match=message):
        FeatureSqueezing(**params)
