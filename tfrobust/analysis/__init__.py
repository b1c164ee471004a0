"""What attacks did, and what their images look like: results to tables and figures.

Where a function says that it takes images `[N,H,W,C]` *in any form*, they may also be a
pair of arrays, `(images, labels)`; batches of images or of such pairs in any iterable,
for instance a `tf.data.Dataset`, where a third element of a batch marks padding by 0;
or a `data.Dataset`. Labels that come with the images are not given again: `labels` is
then left out, or `None`. All images are in memory at once.

Pixels are within the bounds of the model, as for an attack's call: in [0, 1] unless the
model or `bounds` says otherwise. Distances, radii and filters are in units of images in
[0, 1] whatever the bounds, so that numbers of different networks compare.
"""

from tfrobust.analysis.agreements import Agreement, agreement, towards_classes
from tfrobust.analysis.alignments import Alignment, alignment
from tfrobust.analysis.characteristics import (
    Characteristic,
    characteristic,
    remeasure,
)
from tfrobust.analysis.correlation import partial_rank_correlation, rank_correlation
from tfrobust.analysis.curves import (
    AccuracyCurve,
    filtered_accuracy,
    swapped_accuracy,
)
from tfrobust.analysis.filters import (
    band_pass,
    frequency_radius,
    high_frequency_share,
    high_pass,
    low_pass,
    swap_high,
)
from tfrobust.analysis.judging import Check, Judgement, judge
from tfrobust.analysis.kernels import (
    KernelSmoothness,
    kernel_smoothness,
    kernel_variation,
)
from tfrobust.analysis.layers import default_layers
from tfrobust.analysis.linear_distances import linear_distance
from tfrobust.analysis.magnification import bilateral_filter, magnify, to_display
from tfrobust.analysis.masking import masking_check
from tfrobust.analysis.masking_report import MaskingReport, Sign
from tfrobust.analysis.perturbation import (
    PerturbationMeans,
    PerturbationStatistics,
    perturbation_statistics,
    share_at_bound,
    sign_agreement,
    total_variation_ratio,
)
from tfrobust.analysis.responses import (
    LayerMean,
    LocalResponse,
    local_response,
    local_responses,
)
from tfrobust.analysis.spectra import log_amplitude, log_amplitude_difference
from tfrobust.analysis.success_over_radii import smallest_success, smallest_successes
from tfrobust.analysis.transfers import Transfer, behind_filter, transfer

__all__ = [
    "AccuracyCurve",
    "Agreement",
    "Alignment",
    "Characteristic",
    "Check",
    "Judgement",
    "KernelSmoothness",
    "LayerMean",
    "LocalResponse",
    "MaskingReport",
    "PerturbationMeans",
    "PerturbationStatistics",
    "Sign",
    "Transfer",
    "agreement",
    "alignment",
    "band_pass",
    "behind_filter",
    "bilateral_filter",
    "characteristic",
    "default_layers",
    "filtered_accuracy",
    "frequency_radius",
    "high_frequency_share",
    "high_pass",
    "judge",
    "kernel_smoothness",
    "kernel_variation",
    "linear_distance",
    "local_response",
    "local_responses",
    "log_amplitude",
    "log_amplitude_difference",
    "low_pass",
    "magnify",
    "masking_check",
    "partial_rank_correlation",
    "perturbation_statistics",
    "rank_correlation",
    "remeasure",
    "share_at_bound",
    "sign_agreement",
    "smallest_success",
    "smallest_successes",
    "swap_high",
    "swapped_accuracy",
    "to_display",
    "total_variation_ratio",
    "towards_classes",
    "transfer",
]
