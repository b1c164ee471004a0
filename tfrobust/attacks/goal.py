"""What an attack wants of each image, and how far from it a prediction is."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from tfrobust.core.classifier import log_odds, split_logits
from tfrobust.core.keras_losses import ExampleLoss


@dataclasses.dataclass(frozen=True)
class Goal:
    """What an attack wants: to leave a class, or to reach one.

    Attributes:
        classes: int32 `[B]`. The labels to leave, or the targets to reach.
        targeted: True if `classes` are targets.
        clean: float32 `[B,K]`, logits of the unperturbed images, for losses that
            measure how far a prediction has moved; `None` where none does.
        rivals: int32 `[B]`, the class towards which each image is led away from its
            label, where an untargeted attack tries one class after the other; `None`
            where none does. What counts is still to leave the label.

    Example:
        >>> goal = Goal(tf.constant([0, 1]), targeted=False)
        >>> logits = tf.constant([[2.0, 5.0], [0.0, 4.0]])
        >>> goal.reached(logits).numpy().tolist()
        [True, False]
        >>> goal.margin(logits).numpy().tolist()
        [3.0, -4.0]
    """

    classes: tf.Tensor
    targeted: bool
    clean: tf.Tensor | None = None
    rivals: tf.Tensor | None = None

    def reached(self, logits: tf.Tensor) -> tf.Tensor:
        """Whether the predicted class is what the attack wants, bool `[B]`.

        Never true where a logit is NaN or infinite: such an answer is no prediction.
        """
        predicted = tf.argmax(logits, axis=-1, output_type=tf.int32)
        finite = tf.reduce_all(tf.math.is_finite(logits), axis=-1)
        hit = tf.equal(predicted, self.classes)
        return finite & (hit if self.targeted else ~hit)

    def margin(self, logits: tf.Tensor) -> tf.Tensor:
        """Lead of the best class of the goal over the best other one, `[B]`.

        Positive where the goal is reached, 0 on the decision boundary.
        """
        own, others = split_logits(logits, self.classes)
        return self._sign() * (tf.reduce_max(others, axis=-1) - own)

    def log_odds(self, logits: tf.Tensor) -> tf.Tensor:
        """Log-odds of the goal classes, float32 `[B]`.

        The cross-entropy of the label is `softplus(log_odds)` when untargeted, and that
        of the target is `softplus(-log_odds)` when targeted. So this orders images as
        the cross-entropy does and has a gradient in the same direction. Unlike the
        cross-entropy it does not saturate: in float32 that has a gradient of exactly
        zero at a margin of 100, and a wrong one from 17 on, as 1 - p rounds to 0.
        """
        return self._sign() * log_odds(logits, self.classes)

    def logits_ratio(self, logits: tf.Tensor) -> tf.Tensor:
        """Difference of logits ratio (DLR), float32 `[B]`: a margin without a scale.

        The margin over the spread of the top logits: largest minus third largest
        untargeted, largest minus the mean of the third and fourth when targeted (minus
        the third if there are but three classes). Shifting or scaling all logits leaves
        it as it is. When targeted, the best other class stands where Croce and Hein
        have the label; until the target is reached the two are usually the same.

        Reference: Croce and Hein 2020 (AutoAttack), equations 6 and 7.

        Raises:
            ValueError: With fewer than 3 classes, where it is constant.
        """
        classes = logits.shape[-1]
        if classes is not None and classes < 3:
            raise ValueError(
                '`loss` must not be "dlr" with fewer than 3 classes, where it is '
                f"constant. Received: {classes} classes"
            )
        count = 4 if self.targeted and classes is not None and classes > 3 else 3
        top = tf.math.top_k(logits, count).values
        spread = top[:, 0] - tf.reduce_mean(top[:, 2:], axis=-1)
        return tf.math.divide_no_nan(self.margin(logits), spread)

    def rival_margin(self, logits: tf.Tensor) -> tf.Tensor:
        """Logit of the rival less that of the label, float32 `[B]`.

        Raises:
            ValueError: If the goal has no rivals.
        """
        if self.rivals is None:
            raise ValueError(
                "`rivals` must be given for a loss of theirs. Received: None"
            )
        rival, _ = split_logits(logits, self.rivals)
        return rival - split_logits(logits, self.classes)[0]

    def rival_ratio(self, logits: tf.Tensor) -> tf.Tensor:
        """Targeted difference of logits ratio towards the rival, float32 `[B]`.

        `-(z_y - z_t) / (z_1 - (z_3 + z_4) / 2)`, y the label, t the rival and z_1, z_3,
        z_4 the largest logits but the second. Unlike `logits_ratio` of a targeted goal
        it keeps to the label, whatever class is best.

        Reference: Croce and Hein 2020 (AutoAttack), equation 7.

        Raises:
            ValueError: If the goal has no rivals, or with fewer than 4 classes.
        """
        classes = logits.shape[-1]
        if classes is not None and classes < 4:
            raise ValueError(
                "The ratio towards a rival must have at least 4 classes. "
                f"Received: {classes} classes"
            )
        top = tf.math.top_k(logits, 4).values
        spread = top[:, 0] - 0.5 * (top[:, 2] + top[:, 3])
        return tf.math.divide_no_nan(self.rival_margin(logits), spread)

    def loss(self, loss: ExampleLoss, logits: tf.Tensor) -> tf.Tensor:
        """A loss of the label, or minus that of the target, float32 `[B]`."""
        return self._sign() * loss.of_logits(self.classes, logits)

    def divergence(self, logits: tf.Tensor) -> tf.Tensor:
        """Kullback-Leibler divergence from the clean prediction, float32 `[B]`.

        `sum_k p_k (log p_k - log q_k)`, p of the clean logits, q of these. No gradient
        flows into the clean ones.

        Raises:
            ValueError: If the goal has no clean logits.
        """
        if self.clean is None:
            raise ValueError("`clean` must be given for a divergence. Received: None")
        return divergence(tf.stop_gradient(self.clean), logits)

    def rows(self, index: tf.Tensor) -> Goal:
        """The goal of some of the images, int32 `[M]` indices into the batch."""
        clean, rivals = (
            None if each is None else tf.gather(each, index)
            for each in (self.clean, self.rivals)
        )
        return Goal(tf.gather(self.classes, index), self.targeted, clean, rivals)

    def _sign(self) -> float:
        return -1.0 if self.targeted else 1.0


def divergence(logits: tf.Tensor, others: tf.Tensor) -> tf.Tensor:
    """Kullback-Leibler divergence of two predictions given as logits, float32 `[B]`.

    `sum_k p_k (log p_k - log q_k)`, p of `logits`, q of `others`, in logarithms
    throughout: no probability is clamped.

    Args:
        logits: float32 `[B,K]`.
        others: float32 `[B,K]`.

    Example:
        >>> import tensorflow as tf
        >>> p, q = tf.constant([[0.0, 0.0]]), tf.math.log([[0.25, 0.75]])
        >>> round(float(divergence(p, q)[0]), 4)
        0.1438
    """
    log_p, log_q = tf.nn.log_softmax(logits), tf.nn.log_softmax(others)
    return tf.reduce_sum(tf.exp(log_p) * (log_p - log_q), axis=-1)
