"""PyTorch's modules in float64 NumPy, and the published networks made of them.

Each network is written from its paper and the names of its tensors. A tensor is drawn
the first time that it is asked for: afterwards `tensors` is the network's state_dict.
"""

import functools

import numpy as np

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


class Network:
    """The modules, on images `[B, C, H, W]`, and their tensors."""

    def __init__(self, seed=0):
        self.random = np.random.default_rng(seed)
        self.tensors = {}

    def tensor(self, name, draw):
        if name not in self.tensors:
            self.tensors[name] = draw().astype("float32")
        return np.float64(self.tensors[name])

    def conv(self, x, name, filters, size, stride=1, before=None, after=None):
        """Zeros around the image, by default half the kernel's size."""
        before = size // 2 if before is None else before
        after = size // 2 if after is None else after
        shape = (filters, x.shape[1], size, size)
        scale = np.sqrt(2 / np.prod(shape[1:]))
        kernel = self.tensor(
            f"{name}.weight", lambda: scale * self.random.standard_normal(shape)
        )
        x = np.pad(x, ((0, 0), (0, 0), (before, after), (before, after)))
        windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), (2, 3))
        windows = windows[:, :, ::stride, ::stride]
        return np.einsum("bchwij,ocij->bohw", windows, kernel, optimize=True)

    def norm(self, x, name):
        """With running statistics, as in evaluation."""

        def draw(low, high):
            return lambda: self.random.uniform(low, high, x.shape[1])

        weight = self.tensor(f"{name}.weight", draw(0.5, 1.5))
        bias = self.tensor(f"{name}.bias", draw(-0.3, 0.3))
        mean = self.tensor(f"{name}.running_mean", draw(-0.3, 0.3))
        variance = self.tensor(f"{name}.running_var", draw(0.5, 1.5))
        # Kept, and computed with by nothing.
        self.tensors[f"{name}.num_batches_tracked"] = np.int64(7)
        weight, bias, mean, variance = (
            v[:, None, None] for v in (weight, bias, mean, variance)
        )
        return (x - mean) / np.sqrt(variance + 1e-5) * weight + bias

    def linear(self, x, name, classes):
        x = x.mean((2, 3))
        shape = (classes, x.shape[1])
        weight = self.tensor(
            f"{name}.weight", lambda: 0.1 * self.random.standard_normal(shape)
        )
        bias = self.tensor(f"{name}.bias", lambda: self.random.uniform(-1, 1, classes))
        return x @ weight.T + bias


def relu(x):
    return np.maximum(x, 0)


def silu(x):
    return x / (1 + np.exp(-x))


def max_pool(x):
    """3x3 at stride 2, minus infinity around the image."""
    x = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (2, 3))
    return windows[:, :, ::2, ::2].max((-2, -1))


def resnet(net, x, depth, classes, *, imagenet=False, inner_factor=1):
    """He et al. 2016: for CIFAR as in RobustBench, for ImageNet as in torchvision."""
    stem, stride = (7, 2) if imagenet else (3, 1)
    x = relu(net.norm(net.conv(x, "conv1", 64, stem, stride), "bn1"))
    if imagenet:
        x = max_pool(x)
    short = "downsample" if imagenet else "shortcut"
    for stage, count in enumerate(BLOCKS[depth], 1):
        width = 32 * 2**stage
        for block in range(count):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 > block else 1
            if depth < 50:
                steps = [(width, 3, stride), (width, 3, 1)]
            else:
                inner = width * inner_factor
                steps = [(inner, 1, 1), (inner, 3, stride), (4 * width, 1, 1)]
            y = x
            for number, (filters, size, step) in enumerate(steps, 1):
                y = net.conv(y, f"{name}.conv{number}", filters, size, step)
                y = net.norm(y, f"{name}.bn{number}")
                y = y if number == len(steps) else relu(y)
            if x.shape[1:] != y.shape[1:]:
                x = net.conv(x, f"{name}.{short}.0", y.shape[1], 1, stride)
                x = net.norm(x, f"{name}.{short}.1")
            x = relu(x + y)
    return net.linear(x, "fc" if imagenet else "linear", classes)


torchvision = functools.partial(resnet, imagenet=True)


def preact(net, x, depth, classes, *, last_norm=False, activated=False, act=relu):
    """He et al. 2016 b, as in RobustBench."""
    x = net.conv(x, "conv1", 64, 3)
    for stage, count in enumerate(BLOCKS[depth], 1):
        for block in range(count):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 > block else 1
            width = 32 * 2**stage
            y = act(net.norm(x, f"{name}.bn1"))
            if stride == 2:
                start = y if activated else x
                x = net.conv(start, f"{name}.shortcut.0", width, 1, 2)
            y = net.conv(y, f"{name}.conv1", width, 3, stride)
            x = x + net.conv(act(net.norm(y, f"{name}.bn2")), f"{name}.conv2", width, 3)
    if last_norm:
        x = act(net.norm(x, "bn"))
    return net.linear(x, "linear", classes)


def deepmind_preact(net, x, depth, classes, act=silu):
    """Gowal et al. 2020."""
    x = net.conv(x, "conv_2d", 64, 3)
    for stage, count in enumerate(BLOCKS[depth]):
        for block in range(count):
            name, stride = f"layer_{stage}.{block}", 2 if stage and not block else 1
            how = (64 * 2**stage, 3, stride, 2 - stride, 1)
            y = net.conv(
                act(net.norm(x, f"{name}.batchnorm_0")), f"{name}.conv_2d_1", *how
            )
            y = act(net.norm(y, f"{name}.batchnorm_1"))
            y = net.conv(y, f"{name}.conv_2d_2", how[0], 3)
            x = net.conv(x, f"{name}.shortcut", *how) if stride == 2 else x
            x = x + y
    return net.linear(act(net.norm(x, "batchnorm")), "logits", classes)


def wide_resnet(net, x, depth, width, classes, act=relu):
    """Zagoruyko and Komodakis 2016, as in TRADES."""
    x = net.conv(x, "conv1", 16, 3)
    for stage in (1, 2, 3):
        for block in range((depth - 4) // 6):
            name = f"block{stage}.layer.{block}"
            filters, stride = 8 * 2**stage * width, 2 if stage > 1 > block else 1
            y = act(net.norm(x, f"{name}.bn1"))
            # Between unequal channels the shortcut reads what is activated.
            if x.shape[1] != filters:
                x = net.conv(y, f"{name}.convShortcut", filters, 1, stride)
            y = net.conv(y, f"{name}.conv1", filters, 3, stride)
            y = act(net.norm(y, f"{name}.bn2"))
            x = x + net.conv(y, f"{name}.conv2", filters, 3)
    return net.linear(act(net.norm(x, "bn1")), "fc", classes)


def deepmind_wide_resnet(net, x, depth, width, classes, act=silu):
    """Gowal et al. 2020."""
    x = net.conv(x, "init_conv", 16, 3)
    for stage in range(3):
        for block in range((depth - 4) // 6):
            name = f"layer.{stage}.block.{block}"
            filters, stride = 16 * 2**stage * width, 2 if stage and not block else 1
            y = act(net.norm(x, f"{name}.batchnorm_0"))
            if x.shape[1] != filters:
                x = net.conv(y, f"{name}.shortcut", filters, 1, stride)
            # At stride 2 zeros stand behind the pixels alone.
            y = net.conv(y, f"{name}.conv_0", filters, 3, stride, 2 - stride, 1)
            y = act(net.norm(y, f"{name}.batchnorm_1"))
            x = x + net.conv(y, f"{name}.conv_1", filters, 3)
    return net.linear(act(net.norm(x, "batchnorm")), "logits", classes)
