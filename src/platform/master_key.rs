//! The one secret that everything at rest hangs on, and the keys derived from it by label (HKDF-SHA-256).
//!
//! It comes from the setting, or from a file in the data directory that is made on the first run, readable by its
//! owner alone. A leaked database without it gives nobody a working credential.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::{hkdf, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret as _, SecretBox, SecretString};

use super::entropy::random_bytes;
use super::make_private_directory;

const NONCE_LENGTH: usize = 12;
const TAG_LENGTH: usize = 16;

/// 32 random bytes that never print.
pub struct MasterKey(SecretBox<[u8; 32]>);

impl MasterKey {
    /// Reads the key from its text: 32 bytes in base64, with either alphabet.
    ///
    /// # Errors
    /// When the text is anything else. The error does not repeat it.
    pub fn from_text(text: &SecretString) -> Result<Self> {
        let text = text.expose_secret().trim().trim_end_matches('=');
        let bytes = STANDARD_NO_PAD.decode(text).or_else(|_| URL_SAFE_NO_PAD.decode(text));
        let bytes: [u8; 32] = bytes
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| anyhow!("the master key is not 32 bytes in base64"))?;
        Ok(Self(SecretBox::new(Box::new(bytes))))
    }

    /// Reads the key from the file, or makes the file (mode 0600) with a new key where there is none.
    ///
    /// # Errors
    /// When the file can't be read or made, or holds something else.
    pub fn from_file(path: &Path) -> Result<Self> {
        match OpenOptions::new().read(true).open(path) {
            Ok(mut file) => {
                let mut text = String::new();
                file.read_to_string(&mut text)
                    .with_context(|| format!("can't read {}", path.display()))?;
                Self::from_text(&text.into())
                    .with_context(|| format!("{} is damaged", path.display()))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Self::create(path),
            Err(error) => Err(error).with_context(|| format!("can't read {}", path.display())),
        }
    }

    fn create(path: &Path) -> Result<Self> {
        if let Some(directory) = path.parent() {
            make_private_directory(directory)?;
        }
        let text = SecretString::from(STANDARD.encode(random_bytes::<32>()));
        // Written whole beside its place and then linked there: a crash leaves no half key, and of two processes
        // that start at once one wins and both read what it wrote.
        let draft = path.with_extension(format!("{}.new", std::process::id()));
        let result = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)
            .and_then(|mut file| {
                writeln!(file, "{}", text.expose_secret())?;
                file.sync_all()
            })
            .and_then(|()| std::fs::hard_link(&draft, path));
        // The draft's name is of no further use, whatever happened.
        let _ = std::fs::remove_file(&draft);
        match result {
            Ok(()) => Self::from_text(&text),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Self::from_file(path),
            Err(error) => Err(error).with_context(|| format!("can't write {}", path.display())),
        }
    }

    /// The 32-byte key that belongs to the label.
    #[must_use]
    pub fn derive(&self, label: &str) -> SecretBox<[u8; 32]> {
        derive(self.0.expose_secret(), label)
    }

    /// A key that encrypts and authenticates what is stored.
    #[must_use]
    pub fn sealing_key(&self, label: &str) -> SealingKey {
        SealingKey(self.derive(label))
    }

    /// A key for HMAC-SHA-256.
    #[must_use]
    pub fn hmac_key(&self, label: &str) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.derive(label).expose_secret())
    }
}

/// AES-256-GCM with a random 96-bit nonce, which stands before the ciphertext.
pub struct SealingKey(SecretBox<[u8; 32]>);

impl SealingKey {
    /// The sealing key that a secret of full entropy yields, by label.
    #[must_use]
    pub fn from_secret(secret: &[u8], label: &str) -> Self {
        Self(derive(secret, label))
    }

    /// Encrypts; `context` must be the same when it is opened.
    ///
    /// # Errors
    /// When the cipher fails.
    pub fn seal(&self, plain: &[u8], context: &[u8]) -> Result<Vec<u8>> {
        let nonce = random_bytes::<NONCE_LENGTH>();
        let mut body = plain.to_vec();
        self.cipher()?
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(context),
                &mut body,
            )
            .map_err(|_| anyhow!("sealing failed"))?;
        Ok([nonce.as_slice(), &body].concat())
    }

    /// Decrypts what `seal` made with this key and context.
    ///
    /// # Errors
    /// When it was made with another key or context, or was changed.
    pub fn open(&self, sealed: &[u8], context: &[u8]) -> Result<Vec<u8>> {
        let Some((nonce, body)) = sealed.split_first_chunk::<NONCE_LENGTH>() else {
            bail!("a sealed value is too short");
        };
        let mut body = body.to_vec();
        self.cipher()?
            .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(context), &mut body)
            .map_err(|_| anyhow!("a sealed value was made with another key"))?;
        body.truncate(body.len().saturating_sub(TAG_LENGTH));
        Ok(body)
    }

    fn cipher(&self) -> Result<LessSafeKey> {
        let key = UnboundKey::new(&AES_256_GCM, self.0.expose_secret())
            .map_err(|_| anyhow!("the cipher is unusable"))?;
        Ok(LessSafeKey::new(key))
    }
}

fn derive(secret: &[u8], label: &str) -> SecretBox<[u8; 32]> {
    let mut key = [0; 32];
    let info = [b"portcullis/v1/", label.as_bytes()];
    #[expect(clippy::expect_used, reason = "32 bytes are far below HKDF-SHA-256's limit of 8160")]
    hkdf::Salt::new(hkdf::HKDF_SHA256, &[])
        .extract(secret)
        .expand(&info, hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(&mut key))
        .expect("HKDF gives 32 bytes");
    SecretBox::new(Box::new(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_file_is_made_once_and_for_its_owner_alone() -> Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("deeper/master.key");
        let first = MasterKey::from_file(&path)?;
        let second = MasterKey::from_file(&path)?;
        assert_eq!(first.derive("a").expose_secret(), second.derive("a").expose_secret());
        assert_ne!(first.derive("a").expose_secret(), second.derive("b").expose_secret());
        assert_eq!(std::fs::metadata(&path)?.permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(directory.path().join("deeper"))?.count(), 1);
        Ok(())
    }

    #[test]
    fn a_damaged_file_is_refused_and_left_as_it_is() -> Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("master.key");
        std::fs::write(&path, "short")?;
        assert!(MasterKey::from_file(&path).is_err());
        assert_eq!(std::fs::read_to_string(&path)?, "short");
        Ok(())
    }

    #[test]
    fn what_is_sealed_opens_with_the_same_key_and_context_only() -> Result<()> {
        let key = SealingKey::from_secret(b"a secret", "test");
        let sealed = key.seal(b"plain", b"context")?;
        assert_eq!(key.open(&sealed, b"context")?, b"plain");
        assert!(key.open(&sealed, b"another").is_err());
        assert!(key.open(&sealed[1..], b"context").is_err());
        assert!(key.open(b"", b"context").is_err());
        assert!(SealingKey::from_secret(b"a secreT", "test").open(&sealed, b"context").is_err());
        Ok(())
    }
}
