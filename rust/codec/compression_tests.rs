use super::*;

/// Text that has some patterns, and differs from end to end.
fn text(len: usize) -> Vec<u8> {
    (0_u32..)
        .flat_map(|n| format!("{} and {n}; ", n.wrapping_mul(7919)).into_bytes())
        .take(len)
        .collect()
}

fn compress(value: &[u8]) -> Option<Vec<u8>> {
    Zstandard::new().ok()?.compress(value, LEVEL)
}

fn shorter(value: &[u8]) -> Vec<u8> {
    compress(value).unwrap_or_default()
}

fn restored(bytes: &[u8]) -> Result<Vec<u8>, Damage> {
    let Some(compressed) = compressed(bytes)? else { return Err(Damage::NotAValue) };
    let mut value = vec![0; compressed.len];
    let mut zstandard = Zstandard::new().map_err(|_| Damage::Malformed)?;
    zstandard.restore(&compressed, &mut value)?;
    Ok(value)
}

#[test]
fn what_is_compressed_comes_back() {
    for len in [LEAST, LEAST + 1, 5_000, 100_000, 3_000_000] {
        let (value, bytes) = (text(len), shorter(&text(len)));
        assert!(bytes.len() < len * 7 / 8, "{len}: {}", bytes.len());
        assert_eq!(restored(&bytes), Ok(value));
    }
}

#[test]
fn what_would_not_pay_is_left_alone() {
    let mut noise = vec![0; 10_000];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    assert_eq!(compress(&noise), None);
    assert_eq!(compress(b""), None);
    assert_eq!(compress(&vec![b'a'; 1_000_000]), None, "over the ratio");
}

#[test]
fn other_bytes_are_nothing_of_the_kind() {
    for bytes in [b"".as_slice(), b"llm", b"llmv\x01", b"LLMZ\x01\0\0\0"] {
        assert!(matches!(compressed(bytes), Ok(None)));
    }
}

#[test]
fn every_truncation_and_every_flipped_bit_is_noticed_or_harmless() {
    let (value, bytes) = (text(3_000), shorter(&text(3_000)));
    for len in 4..bytes.len() {
        assert!(restored(&bytes[..len]).is_err(), "{len}");
    }
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        // A frame has no checksum: the value inside has one.
        let found = restored(&damaged);
        assert!(found.is_err() || found.is_ok_and(|found| found.len() == value.len()), "{bit}");
    }
    assert!(restored(&[bytes.as_slice(), b"x"].concat()).is_err());
    // A second frame would be read as well, if there were room for it.
    assert!(restored(&[bytes.as_slice(), &bytes[HEADER..]].concat()).is_err());
}

/// What 64 KiB can ask for.
const _: () = assert!(64 * 1024 * RATIO_MAX <= 8 * 1024 * 1024);

#[test]
fn a_bomb_is_not_believed() {
    let bomb = zstd::bulk::compress(&vec![b'a'; 60_000_000], 3).unwrap_or_default();
    for len in [
        1,
        4096,
        bomb.len() * RATIO_MAX,
        bomb.len() * RATIO_MAX + 1,
        60_000_000,
        LEN_MAX + 1,
        1 << 31,
    ] {
        let Ok(len) = u32::try_from(len) else { continue };
        let bytes = [b"llmz\x01\0\0\0".as_slice(), &len.to_le_bytes(), &bomb].concat();
        assert_eq!(restored(&bytes), Err(Damage::Compression), "{len}");
        if len as usize > bomb.len() * RATIO_MAX {
            assert!(compressed(&bytes).is_err(), "{len}");
        }
    }
}

#[test]
fn another_version_is_told_from_damage() {
    let mut bytes = shorter(&text(3_000));
    bytes[4] = 2;
    assert_eq!(restored(&bytes), Err(Damage::UnknownVersion));
    bytes[4] = 1;
    bytes[6] = 1;
    assert_eq!(restored(&bytes), Err(Damage::NotAValue));
}
