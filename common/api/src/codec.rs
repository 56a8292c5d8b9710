//! The codec of all calls: that of `prost`, with a bound on how much larger a request becomes when it is decoded.
//!
//! An empty message within a message takes two bytes on the wire and up to some thousand in memory, so the size of a
//! request says little about the memory that it needs. The messages and fields of a request are counted before it is
//! decoded. Replies are not: a client trusts its server.

use std::marker::PhantomData;
use std::sync::LazyLock;

use prost::bytes::Buf;
use prost::encoding::{WireType, decode_key, decode_varint};
use prost::{DecodeError, Message, Name};
use prost_reflect::{Kind, MessageDescriptor};
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

use crate::json::DESCRIPTORS;

/// Most messages within a request.
const MAX_MESSAGES: usize = 20_000;
/// Most fields of a request and the messages in it.
const MAX_FIELDS: usize = 200_000;
/// Depth below which nothing is counted: the decoder refuses a deeper message.
const MAX_DEPTH: usize = 100;

/// Encodes `T` and decodes `U`.
#[derive(Debug, Clone)]
pub struct BoundedCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for BoundedCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for BoundedCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Name + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = BoundedDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::new(BufferSettings::default())
    }

    fn decoder(&mut self) -> Self::Decoder {
        let is_request = U::NAME.ends_with("Request");
        BoundedDecoder {
            inner: ProstCodec::<T, U>::raw_decoder(BufferSettings::default()),
            descriptor: is_request
                .then(|| DESCRIPTORS.get_message_by_name(&U::full_name()))
                .flatten(),
        }
    }
}

/// Decodes `U`.
#[derive(Debug, Clone)]
pub struct BoundedDecoder<U> {
    inner: ProstDecoder<U>,
    /// Of a request.
    descriptor: Option<MessageDescriptor>,
}

impl<U: Message + Default> Decoder for BoundedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        if let Some(descriptor) = &self.descriptor {
            // A message is in one piece.
            check(buf.chunk(), descriptor)?;
        }
        self.inner.decode(buf)
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.inner.buffer_settings()
    }
}

/// Checks that a request has not too many parts. One that cannot be decoded is left to the decoder, which says why.
fn check(bytes: &[u8], descriptor: &MessageDescriptor) -> Result<(), Status> {
    let mut counts = Counts::default();
    // Damaged bytes end the count.
    let _ = counts.add(bytes, descriptor, 0);
    if counts.messages <= MAX_MESSAGES && counts.fields <= MAX_FIELDS {
        return Ok(());
    }
    Err(Status::resource_exhausted(format!(
        "a request of type {} has too many parts: at most {MAX_MESSAGES} messages and {MAX_FIELDS} fields are allowed",
        descriptor.full_name()
    )))
}

/// What a request consists of, as far as it has been counted.
#[derive(Default)]
struct Counts {
    messages: usize,
    fields: usize,
}

impl Counts {
    fn add(&mut self, mut bytes: &[u8], descriptor: &MessageDescriptor, depth: usize) -> Result<(), DecodeError> {
        while !bytes.is_empty() && self.messages <= MAX_MESSAGES && self.fields <= MAX_FIELDS {
            let (number, wire_type) = decode_key(&mut bytes)?;
            self.fields += 1;
            let skipped = match wire_type {
                WireType::Varint => {
                    decode_varint(&mut bytes)?;
                    0
                }
                WireType::SixtyFourBit => 8,
                WireType::ThirtyTwoBit => 4,
                WireType::LengthDelimited => usize::try_from(decode_varint(&mut bytes)?).unwrap_or(usize::MAX),
                // Groups are not used; the fields in them count like those around them.
                WireType::StartGroup | WireType::EndGroup => 0,
            };
            let Some((field, rest)) = bytes.split_at_checked(skipped) else {
                return Ok(());
            };
            bytes = rest;
            if wire_type != WireType::LengthDelimited || depth >= MAX_DEPTH {
                continue;
            }
            if let Some(Kind::Message(inner)) = descriptor.get_field(number).map(|field| field.kind()) {
                self.messages += 1;
                self.add(field, &inner, depth + 1)?;
            }
        }
        Ok(())
    }
}

/// Makes the descriptors ready, which takes some milliseconds. A server does it before its first call.
pub fn prepare() {
    LazyLock::force(&DESCRIPTORS);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{convert, pfs_v2 as pfs, transaction_v2 as tx};

    fn checked<M: Message + Name>(message: &M) -> Result<(), Status> {
        let descriptor = DESCRIPTORS.get_message_by_name(&M::full_name()).unwrap();
        check(&message.encode_to_vec(), &descriptor)
    }

    fn provenance(branches: usize) -> pfs::CreateBranchRequest {
        pfs::CreateBranchRequest {
            provenance: vec![convert::branch_of(convert::repo("default", "a"), "b"); branches],
            ..Default::default()
        }
    }

    #[test]
    fn a_request_of_many_empty_messages_is_refused_before_it_is_decoded() {
        let batch = tx::BatchTransactionRequest {
            requests: vec![tx::TransactionRequest::default(); MAX_MESSAGES + 1],
        };
        let status = checked(&batch).unwrap_err();
        assert_eq!(status.code(), tonic::Code::ResourceExhausted);
        assert!(status.message().contains("transaction_v2.BatchTransactionRequest"));
        // Each branch has a repo, which has a project.
        assert!(checked(&provenance(6_000)).is_ok());
        assert!(checked(&provenance(7_000)).is_err());
    }

    #[test]
    fn the_bytes_of_a_file_are_not_taken_for_messages() {
        let add = pfs::AddFile {
            path: "/a".into(),
            datum: String::new(),
            source: Some(pfs::add_file::Source::Raw([10, 0].repeat(MAX_FIELDS).into())),
        };
        let request = pfs::ModifyFileRequest {
            body: Some(pfs::modify_file_request::Body::AddFile(add)),
        };
        assert!(checked(&request).is_ok());
    }

    #[test]
    fn damaged_bytes_are_left_to_the_decoder() {
        let descriptor = DESCRIPTORS.get_message_by_name("pfs_v2.CreateBranchRequest").unwrap();
        for bytes in [&[0xff; 20][..], &[10, 200], &[10], &[11, 12]] {
            assert!(check(bytes, &descriptor).is_ok());
        }
    }
}
