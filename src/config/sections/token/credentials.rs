//! Credentials of the OAuth client, and where they are kept.

use std::path::{Path, PathBuf};

use super::signing_key::{Algorithm, SigningKey};
use crate::config::error::Problem;
use crate::config::source::invalid::Invalid;
use crate::config::source::setting::{TextSetting, choice};
use crate::config::types::caller_key;
use crate::config::types::pem;
use crate::config::types::pem::Identity;
use crate::config::types::secret_ref::{
    exposure_warning, form_warnings, has_blank, read, unreadable,
};
use crate::secret::{self, Environment, Kept, Secret, Source, absolute, one_line, read_bytes};

/// How the client authenticates to the token endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// Id and secret in the form (RFC 6749 section 2.3.1).
    Post,
    /// Id and secret as HTTP Basic (RFC 6749 section 2.3.1).
    Basic,
    /// An assertion that is signed with a key of the client's (RFC 7523).
    PrivateKeyJwt,
    /// The client's certificate (RFC 8705 section 2).
    Tls,
}

choice!(ClientAuth, "client authentication", {
    "post" => ClientAuth::Post,
    "basic" => ClientAuth::Basic,
    "private_key_jwt" => ClientAuth::PrivateKeyJwt,
    "tls" => ClientAuth::Tls,
});

/// The places of the client's credentials. They are read together for each token request, so that
/// they can be replaced without a restart.
#[derive(Clone, Debug, PartialEq)]
pub struct CredentialSources {
    pub(crate) client_id: Text,
    pub(crate) proof: ProofSource,
    pub(crate) user: Option<(Text, Kept)>,
    /// The certificate's file and the key's.
    pub(crate) certificate: Option<(PathBuf, PathBuf)>,
}

/// The keys of a certificate and its private key.
const CERTIFICATE_KEYS: [&str; 2] = ["token.client_cert", "token.client_key"];

/// A value that is not a secret: it is written in the configuration, or kept where secrets are.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Text {
    Written(String),
    Kept(Kept),
}

/// The place of the proof that the proxy is the client.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ProofSource {
    Post(Kept),
    Basic(Kept),
    Assertion {
        key: Kept,
        algorithm: Algorithm,
        kid: Option<String>,
    },
    Certificate,
}

/// The client's credentials, read at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Credentials {
    /// The client id.
    pub client_id: String,
    /// The proof that the proxy is this client.
    pub proof: Proof,
    /// User name and password, for the password grant (RFC 6749 section 4.3).
    pub user: Option<(String, Secret)>,
    /// The certificate chain and the key (PEM) that TLS presents, if any.
    pub certificate: Option<Secret>,
}

/// Proof that the proxy is the client.
#[derive(Clone, Debug, PartialEq)]
pub enum Proof {
    /// The secret, in the form.
    Post(Secret),
    /// The secret, as HTTP Basic.
    Basic(Secret),
    /// A signature.
    Assertion(SigningKey),
    /// Nothing but the certificate.
    Certificate,
}

impl CredentialSources {
    /// How the client authenticates.
    pub fn client_auth(&self) -> ClientAuth {
        match self.proof {
            ProofSource::Post(_) => ClientAuth::Post,
            ProofSource::Basic(_) => ClientAuth::Basic,
            ProofSource::Assertion { .. } => ClientAuth::PrivateKeyJwt,
            ProofSource::Certificate => ClientAuth::Tls,
        }
    }

    /// Reads all of them.
    ///
    /// # Errors
    /// When one cannot be read, or is not what it has to be.
    pub fn read(&self) -> Result<Credentials, Problem> {
        let user = match &self.user {
            Some((name, password)) => Some((
                name.read("token.username")?,
                read("token.password", password)?,
            )),
            None => None,
        };
        let certificate = self
            .certificate
            .as_ref()
            .map(|(cert, key)| read_certificate(cert, key));
        Ok(Credentials {
            client_id: self.client_id.read("token.client_id")?,
            proof: self.proof.read()?,
            user,
            certificate: certificate.transpose()?,
        })
    }

    /// Every problem that keeps one of them from being read.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        let user = self.user.iter().flat_map(|(name, password)| {
            [
                name.read("token.username").err(),
                read("token.password", password).err(),
            ]
        });
        let certificate = self.certificate.iter().flat_map(|(cert, key)| {
            let problem = read_certificate(cert, key).err();
            // The certificate is read first.
            let is_cert_missing = problem.as_ref().is_some_and(|problem| {
                problem.absent.is_some() && problem.key == CERTIFICATE_KEYS[0]
            });
            let of_key = is_cert_missing.then(|| pem::key_problem(key, CERTIFICATE_KEYS[1]));
            [problem, of_key.flatten()]
        });
        let client = [
            self.client_id.read("token.client_id").err(),
            self.proof.read().err(),
        ];
        client
            .into_iter()
            .chain(user)
            .chain(certificate)
            .flatten()
            .collect()
    }

    /// Warnings about the form of `read`, which was read from them, and about the permissions of
    /// their files.
    pub fn warnings(&self, read: &Credentials) -> Vec<String> {
        let mut warnings = form_warnings("token.client_id", &read.client_id);
        if let Proof::Post(secret) | Proof::Basic(secret) = &read.proof {
            warnings.extend(form_warnings("token.client_secret", secret.expose()));
        }
        if let Some((name, password)) = &read.user {
            warnings.extend(form_warnings("token.username", name));
            warnings.extend(form_warnings("token.password", password.expose()));
        }
        let is_secret = |key: &str| !matches!(key, "token.client_id" | "token.username");
        let kept = self.kept().into_iter();
        let files = kept
            .filter(|(key, _)| is_secret(key))
            .filter_map(|(key, kept)| Some((key, kept.file()?)));
        let private_key = self
            .certificate
            .as_ref()
            .map(|(_, key)| (CERTIFICATE_KEYS[1], &**key));
        warnings.extend(
            files
                .chain(private_key)
                .filter_map(|(key, file)| exposure_warning(key, file)),
        );
        warnings
    }

    /// The certificate that TLS presents to the token endpoint, if any.
    ///
    /// # Errors
    /// When it cannot be read, or its key is another's.
    pub fn identity(&self) -> Result<Option<Identity>, Problem> {
        self.certificate
            .as_ref()
            .map(|(cert, key)| pem::identity(cert, key, CERTIFICATE_KEYS))
            .transpose()
    }

    /// Every file that one of them is kept in.
    pub fn files(&self) -> Vec<&Path> {
        let kept = self.kept().into_iter().filter_map(|(_, kept)| kept.file());
        kept.chain(self.certificate_files().map(|(_, file)| file))
            .collect()
    }

    /// The key and the file of each half of the certificate that TLS presents.
    pub fn certificate_files(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let files = self
            .certificate
            .iter()
            .flat_map(|(cert, key)| [cert.as_path(), key.as_path()]);
        CERTIFICATE_KEYS.into_iter().zip(files)
    }

    /// The key and the place of each credential that is not written in the configuration.
    pub fn kept(&self) -> Vec<(&'static str, &Kept)> {
        let proof = match &self.proof {
            ProofSource::Post(kept) | ProofSource::Basic(kept) => {
                Some(("token.client_secret", kept))
            }
            ProofSource::Assertion { key, .. } => Some(("token.jwt_key", key)),
            ProofSource::Certificate => None,
        };
        let user = self.user.iter().flat_map(|(name, password)| {
            [
                name.kept().map(|kept| ("token.username", kept)),
                Some(("token.password", password)),
            ]
        });
        let client_id = self.client_id.kept().map(|kept| ("token.client_id", kept));
        [client_id, proof]
            .into_iter()
            .chain(user)
            .flatten()
            .collect()
    }
}

impl ProofSource {
    fn read(&self) -> Result<Proof, Problem> {
        let secret = |kept: &Kept| read("token.client_secret", kept);
        match self {
            ProofSource::Post(kept) => secret(kept).map(Proof::Post),
            ProofSource::Basic(kept) => secret(kept).map(Proof::Basic),
            ProofSource::Assertion {
                key,
                algorithm,
                kid,
            } => {
                let pem = key
                    .read_lines()
                    .map_err(|error| unreadable("token.jwt_key", key, &error))?;
                SigningKey::parse(&pem, key, *algorithm, kid.clone()).map(Proof::Assertion)
            }
            ProofSource::Certificate => Ok(Proof::Certificate),
        }
    }
}

impl Text {
    fn kept(&self) -> Option<&Kept> {
        match self {
            Text::Written(_) => None,
            Text::Kept(kept) => Some(kept),
        }
    }

    fn read(&self, key: &'static str) -> Result<String, Problem> {
        match self {
            Text::Written(text) => Ok(text.clone()),
            Text::Kept(kept) => read(key, kept).map(|text| text.expose().to_owned()),
        }
    }
}

/// [`Text`] as it is written.
#[derive(Debug)]
pub(crate) enum TextRef {
    Written(String),
    Kept(Source),
}

impl TextRef {
    pub(crate) fn locate(self, env: &Environment) -> Text {
        match self {
            TextRef::Written(text) => Text::Written(text),
            TextRef::Kept(source) => Text::Kept(source.locate(env)),
        }
    }
}

impl TextSetting for TextRef {
    // The secret may be written in its place.
    const NEVER_QUOTE: bool = true;

    fn parse_text(text: &str) -> Result<Self, Invalid> {
        let invalid = |reason| {
            let fix = "write it in quotes, or \"env:NAME\", \"file:PATH\" or \"credential:NAME\"";
            Err(Invalid::new("value", reason, fix))
        };
        match Source::parse(text) {
            _ if text.trim().is_empty() => invalid("it is empty"),
            Some(source) if has_blank(&source) => invalid("the name begins or ends with a space"),
            Some(source) => Ok(TextRef::Kept(source)),
            None if secret::is_content(text.trim_end()) => {
                invalid("this is the content of a file (it is not shown)")
            }
            None if caller_key::is_in(text) => invalid("this is a caller's key (it is not shown)"),
            // "file:" alone is what is left when a variable in a template is empty.
            None if Source::is_begun(text) => invalid("it names no variable or file"),
            None => match one_line(text) {
                Ok(line) => Ok(TextRef::Written(line.to_owned())),
                Err(refusal) => Err(Invalid::new("value", refusal.cause, refusal.fix)),
            },
        }
    }

    fn to_text(&self) -> String {
        match self {
            TextRef::Written(text) => text.clone(),
            TextRef::Kept(source) => source.to_string(),
        }
    }
}

/// The chain and the key as one PEM text, if they belong together.
fn read_certificate(cert: &Path, key: &Path) -> Result<Secret, Problem> {
    pem::identity(cert, key, CERTIFICATE_KEYS)?;
    let read = |key, path: &Path| {
        let fix = "check the path and the permissions of the file";
        read_bytes(path).map_err(|error| {
            let path = absolute(path);
            Problem::new(key, format!("cannot read {}: {error}", path.display()), fix)
        })
    };
    let [cert_key, key_key] = CERTIFICATE_KEYS;
    let (chain, private) = (read(cert_key, cert)?, read(key_key, key)?);
    // Room for all of it from the start: growing would leave pieces behind that are not zeroed.
    let mut both = String::with_capacity(chain.len() + private.len() + 2);
    for (key, part) in [(cert_key, &chain), (key_key, &private)] {
        let fix = "save the file as ASCII";
        let part =
            str::from_utf8(part).map_err(|_| Problem::new(key, "the file is not UTF-8 text", fix));
        both.push_str(part?);
        both.push('\n');
    }
    Ok(Secret::new(both))
}
