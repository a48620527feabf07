//! SHA-256 on vectors of 32-bit words: each lane of a vector is another message's.
//!
//! The algorithm is written once, here, as a macro. The file of an instruction set defines a vector and what can be done
//! with it, then expands the macro, so that everything is compiled with that instruction set enabled and inlined.

/// Expands to `scan`, `double64` and `double80` over `LANES` lanes of `V`.
///
/// It needs in scope, for the features named: `splat`, `counting`, `add`, `xor3`, `rotr`, `shr`, `choose`, `majority`,
/// `swap_bytes`, `at_most`, `load_blocks` and `store_digests`.
macro_rules! lanes {
    ($features:literal) => {
        /// The two sums that a round takes and the two that the message schedule takes (FIPS 180-4, section 4.1.2).
        #[inline]
        #[target_feature(enable = $features)]
        fn big0(x: V) -> V {
            xor3(rotr::<2, 30>(x), rotr::<13, 19>(x), rotr::<22, 10>(x))
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn big1(x: V) -> V {
            xor3(rotr::<6, 26>(x), rotr::<11, 21>(x), rotr::<25, 7>(x))
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn small0(x: V) -> V {
            xor3(rotr::<7, 25>(x), rotr::<18, 14>(x), shr::<3>(x))
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn small1(x: V) -> V {
            xor3(rotr::<17, 15>(x), rotr::<19, 13>(x), shr::<10>(x))
        }

        /// One round; `wk` is the schedule's word plus the round's constant.
        #[inline]
        #[target_feature(enable = $features)]
        fn round([a, b, c, d, e, f, g, h]: [V; 8], wk: V) -> [V; 8] {
            let t = add(add(add(h, wk), choose(e, f, g)), big1(e));
            [add(add(majority(a, b, c), big0(a)), t), a, b, c, add(d, t), e, f, g]
        }

        /// Puts the schedule's word `t` where the one sixteen before it was.
        #[inline]
        #[target_feature(enable = $features)]
        fn extend(w: &mut [V; 16], t: usize) {
            w[t % 16] = add(
                add(w[t % 16], small0(w[(t + 1) % 16])),
                add(w[(t + 9) % 16], small1(w[(t + 14) % 16])),
            );
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn add_words(left: [V; 8], right: [V; 8]) -> [V; 8] {
            let mut sum = left;
            unroll!(I in [0 1 2 3 4 5 6 7] { sum[I] = add(left[I], right[I]); });
            sum
        }

        /// One block of a message.
        #[inline]
        #[target_feature(enable = $features)]
        fn compress(state: [V; 8], mut w: [V; 16]) -> [V; 8] {
            let mut s = state;
            unroll!(T in [0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15] {
                s = round(s, add(w[T], splat(K[T])));
            });
            for k in [16, 32, 48] {
                unroll!(T in [0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15] {
                    extend(&mut w, T);
                    s = round(s, add(w[T], splat(K[k + T])));
                });
            }
            add_words(state, s)
        }

        /// One block whose schedule is the same in every lane; its words come with the rounds' constants added. With no
        /// schedule to compute meanwhile, several batches take turns lest each round wait for the one before.
        #[inline]
        #[target_feature(enable = $features)]
        fn compress_constant<const B: usize>(states: &mut [[V; 8]; B], wk: &[u32; 64]) {
            let mut s = *states;
            for wk in wk.as_chunks::<8>().0 {
                unroll!(T in [0 1 2 3 4 5 6 7] {
                    for s in &mut s {
                        *s = round(*s, splat(wk[T]));
                    }
                });
            }
            for (state, s) in states.iter_mut().zip(s) {
                *state = add_words(*state, s);
            }
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn splat8(words: &[u32; 8]) -> [V; 8] {
            words.map(|word| splat(word))
        }

        /// The block of the outer hash: a digest and padding.
        #[inline]
        #[target_feature(enable = $features)]
        fn outer_words(digest: [V; 8]) -> [V; 16] {
            let [a, b, c, d, e, f, g, h] = digest;
            let zero = splat(0);
            [a, b, c, d, e, f, g, h, splat(END), zero, zero, zero, zero, zero, zero, splat(8 * 32)]
        }

        /// The outer hash of digests: in each lane a block, half of whose words are known.
        #[inline]
        #[target_feature(enable = $features)]
        fn outer(digest: [V; 8]) -> [V; 8] {
            let mut w = outer_words(digest);
            let mut s = splat8(&INITIAL);
            unroll!(T in [0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15] {
                s = round(s, add(w[T], splat(K[T])));
            });
            unroll!(T in [16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39 40 41 42 43 44 45 46
                          47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63] {
                extend(&mut w, T);
                s = round(s, add(w[T % 16], splat(K[T])));
            });
            add_words(splat8(&INITIAL), s)
        }

        /// Double SHA-256 of messages of 64 bytes, in `B` batches.
        #[target_feature(enable = $features)]
        pub fn double64<const B: usize, const N: usize>(messages: &[[u8; 64]; N], digests: &mut [[u8; 32]; N]) {
            const { assert!(N == B * LANES) };
            let (messages, _) = messages.as_chunks::<LANES>();
            let (digests, _) = digests.as_chunks_mut::<LANES>();
            let mut states = [splat8(&INITIAL); B];
            for (state, messages) in states.iter_mut().zip(messages) {
                *state = compress(*state, load_blocks(messages));
            }
            compress_constant(&mut states, &PADDING_OF_64);
            for (state, digests) in states.into_iter().zip(digests) {
                store_digests(outer(state), digests);
            }
        }

        /// Double SHA-256 of messages of 80 bytes.
        #[target_feature(enable = $features)]
        pub fn double80(messages: &[[u8; 80]; LANES], digests: &mut [[u8; 32]; LANES]) {
            let (mut first, mut second) = ([[0; 64]; LANES], [[0; 64]; LANES]);
            for ((message, first), second) in messages.iter().zip(&mut first).zip(&mut second) {
                first.copy_from_slice(&message[..64]);
                *second = super::last_block_of_80(&message[64..]);
            }
            let state = compress(splat8(&INITIAL), load_blocks(&first));
            let state = compress(state, load_blocks(&second));
            store_digests(outer(state), digests);
        }

        /// The first of `count` nonces from `first` on whose hash may pass.
        #[target_feature(enable = $features)]
        pub fn scan(search: &NonceSearch, first: u32, count: u64) -> Option<u32> {
            let k = std::hint::black_box(&K);
            let zero = splat(0);
            let midstate = splat8(&search.midstate);
            let after_four = splat8(&search.after_four);
            let [w16, w17, w18, w19] = search.schedule.map(|word| splat(word));
            let limit = splat(search.limit);
            let mut done = 0;
            while done < count {
                let start = first.wrapping_add(done as u32);
                let nonce = swap_bytes(counting(start));
                // The inner hash's second block, from round 4 on.
                let mut s = after_four;
                s[0] = add(s[0], nonce);
                s[4] = add(s[4], nonce);
                let mut w = [
                    w16,
                    w17,
                    add(w18, small0(nonce)),
                    add(w19, nonce),
                    splat(END),
                    zero, zero, zero, zero, zero, zero, zero, zero, zero, zero,
                    splat(8 * 80),
                ];
                unroll!(T in [4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19] {
                    s = round(s, add(w[T % 16], splat(k[T])));
                });
                unroll!(T in [20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49
                              50 51 52 53 54 55 56 57 58 59 60 61 62 63] {
                    extend(&mut w, T);
                    s = round(s, add(w[T % 16], splat(k[T])));
                });
                // The outer hash, as far as its last word needs.
                let mut w = outer_words(add_words(midstate, s));
                let mut s = splat8(&INITIAL);
                unroll!(T in [0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15] {
                    s = round(s, add(w[T], splat(k[T])));
                });
                unroll!(T in [16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39 40 41 42 43 44 45
                              46 47 48 49 50 51 52 53 54 55 56 57 58 59 60] {
                    extend(&mut w, T);
                    s = round(s, add(w[T % 16], splat(k[T])));
                });
                let mut passing = at_most(swap_bytes(add(s[4], splat(INITIAL[7]))), limit);
                if count - done < LANES as u64 {
                    passing &= (1 << (count - done)) - 1;
                }
                if passing != 0 {
                    return Some(start + passing.trailing_zeros());
                }
                done += LANES as u64;
            }
            None
        }
    };
}
pub(super) use lanes;
