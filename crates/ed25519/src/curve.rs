//! Points of edwards25519, one at a time: -x² + y² = 1 + d x² y².

use super::field::Element;

/// Twice the curve's d = -121665/121666.
pub const D2: [u64; 5] =
    [1_859_910_466_990_425, 932_731_440_258_426, 1_072_319_116_312_658, 1_815_898_335_770_999, 633_789_495_995_903];

/// A point in extended coordinates: x = X/Z, y = Y/Z, xy = T/Z (Hisil, Wong, Carter, Dawson 2008).
#[derive(Debug, Clone, Copy)]
pub struct Point {
    pub x: Element,
    pub y: Element,
    pub z: Element,
    pub t: Element,
}

impl Point {
    pub const NEUTRAL: Self = Self { x: Element::ZERO, y: Element::ONE, z: Element::ONE, t: Element::ZERO };

    /// Twice the point (section 3.3).
    pub fn double(self) -> Self {
        let (xx, yy, zz) = (self.x * self.x, self.y * self.y, self.z * self.z);
        let sum = self.x + self.y;
        let e = sum * sum - xx - yy;
        let g = yy - xx;
        let f = g - zz - zz;
        let h = -(xx + yy);
        Self { x: e * f, y: g * h, z: f * g, t: e * h }
    }

    /// The sum, of any two points (section 3.1: complete, since -1 is a square and d is none).
    pub fn add(self, other: Self) -> Self {
        let a = (self.y - self.x) * (other.y - other.x);
        let b = (self.y + self.x) * (other.y + other.x);
        let c = self.t * Element::from_limbs(D2) * other.t;
        let d = self.z * other.z;
        let (e, f, g, h) = (b - a, d + d - c, d + d + c, b + a);
        Self { x: e * f, y: g * h, z: f * g, t: e * h }
    }

    pub fn is_neutral(self) -> bool {
        self.x.is_zero() && (self.y - self.z).is_zero()
    }
}
