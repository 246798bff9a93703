#!/usr/bin/env bash
# Makes the certificates of the tests in the current directory: one of every kind that matters.
set -euo pipefail
key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"; }
ca() {
  key "$1"
  openssl req -x509 -new -key "$1.key" -days 30 -subj "/CN=$1" -out "$1.crt" \
    -addext 'basicConstraints=critical,CA:true' -addext 'keyUsage=critical,keyCertSign,cRLSign'
}
# sign NAME SUBJECT CA EXTENSIONS
sign() {
  key "$1"
  openssl req -new -utf8 -multivalue-rdn -key "$1.key" -subj "$2" -out "$1.csr"
  printf '%b' "$4" >"$1.ext"
  openssl x509 -req -in "$1.csr" -CA "$3.crt" -CAkey "$3.key" -CAcreateserial -days 10 \
    -extfile "$1.ext" -out "$1.crt"
}
self() {
  key "$1"
  openssl req -x509 -new -key "$1.key" -days 5 -subj "$2" -out "$1.crt" "${@:3}"
}

client='extendedKeyUsage=clientAuth'
issuer='basicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign,cRLSign'

ca root
ca other
sign server /CN=localhost root 'subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1\nextendedKeyUsage=serverAuth'
sign server2 /CN=second root 'subjectAltName=DNS:localhost,DNS:*.example.test,IP:127.0.0.1,IP:::1\nextendedKeyUsage=serverAuth'
sign serverOther /CN=localhost other 'subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth'
sign alice '/O=Acme/OU=ops/CN=alice' root "$client\nsubjectAltName=DNS:alice,URI:spiffe://acme/alice,email:alice@acme.test,IP:10.0.0.1,IP:::ffff:10.0.0.2,IP:fd00::1"
sign bob /CN=bob root "$client\nsubjectAltName=DNS:bob"
sign mallory /CN=mallory root "$client"
sign noEku /CN=alice root 'keyUsage=digitalSignature'
sign serverOnly /CN=alice root 'extendedKeyUsage=serverAuth'
sign codeSigning /CN=alice root 'extendedKeyUsage=codeSigning'
sign certSign /CN=alice root "keyUsage=critical,keyCertSign\n$client"
sign otherCa /CN=alice other "$client"
sign twoNames /CN=alice/CN=mallory root "$client"
sign twoNamesReversed /CN=mallory/CN=alice root "$client"
sign multiValued /CN=alice+CN=mallory root "$client"
sign space '/CN=alice ' root "$client"
sign upperCase /CN=Alice root "$client"
sign unicode '/CN=älice ☃' root "$client"
sign noName /O=acme root "$client"
sign sanOnly / root "$client\nsubjectAltName=critical,DNS:alice"
sign sanInjection /CN=mallory root "$client\nsubjectAltName=@names\n[names]\nURI.1=http://x/, DNS:alice"
sign wildcard /CN=mallory root "$client\nsubjectAltName=DNS:*.example"
sign serverNoName / root 'subjectAltName=critical,DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth'
sign serverNameOnly /CN=localhost root 'extendedKeyUsage=serverAuth'
sign serverForClients /CN=localhost root "subjectAltName=DNS:localhost,IP:127.0.0.1\n$client"
sign interConstrained /CN=constrained root "$issuer\nnameConstraints=critical,permitted;DNS:good.example"
sign viaConstrained /CN=alice interConstrained "$client\nsubjectAltName=DNS:alice.evil.example"
cat viaConstrained.crt interConstrained.crt >viaConstrainedChain.crt
cp viaConstrained.key viaConstrainedChain.key
sign inter0 /CN=inter0 root 'basicConstraints=critical,CA:true,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign'
sign sub /CN=sub inter0 "$issuer"
sign viaSub /CN=alice sub "$client"
cat viaSub.crt sub.crt inter0.crt >viaSubChain.crt
cp viaSub.key viaSubChain.key
sign inter /CN=inter root "$issuer"
sign viaInter /CN=alice inter "$client"
cat viaInter.crt inter.crt >viaInterChain.crt
cp viaInter.key viaInterChain.key
sign serverViaInter /CN=localhost inter 'subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth'
cat serverViaInter.crt inter.crt >serverViaInterChain.crt
cp serverViaInter.key serverViaInterChain.key
sign notCa /CN=notCa root 'basicConstraints=critical,CA:false'
sign viaNotCa /CN=alice notCa "$client"
cat viaNotCa.crt notCa.crt >viaNotCaChain.crt
cp viaNotCa.key viaNotCaChain.key
self selfSigned /CN=alice -addext "$client"
self fakeRoot /CN=root -addext 'basicConstraints=critical,CA:true'
sign viaFakeRoot /CN=alice fakeRoot "$client"

# What only `openssl ca` can make: dates of one's own, and revocation lists.
mkdir -p newcerts
: >index.txt
echo 1000 >serial
echo 1000 >crlnumber
cat >ca.cnf <<'CNF'
[ca]
default_ca = root
[root]
dir = .
database = ./index.txt
serial = ./serial
crlnumber = ./crlnumber
new_certs_dir = ./newcerts
certificate = ./root.crt
private_key = ./root.key
default_md = sha256
default_days = 10
default_crl_days = 10
policy = any
unique_subject = no
x509_extensions = client
[any]
commonName = supplied
[client]
extendedKeyUsage = clientAuth
[server]
subjectAltName = DNS:localhost,IP:127.0.0.1
extendedKeyUsage = serverAuth
CNF
# issue NAME SUBJECT SECTION [DATES...]
issue() {
  key "$1"
  openssl req -new -key "$1.key" -subj "$2" -out "$1.csr"
  openssl ca -config ca.cnf -batch -notext -extensions "$3" -in "$1.csr" -out "$1.crt" "${@:4}"
}
past=(-startdate 20200101000000Z -enddate 20200201000000Z)
future=(-startdate 20900101000000Z -enddate 20910101000000Z)
issue expired /CN=alice client "${past[@]}"
issue future /CN=alice client "${future[@]}"
issue serverExpired /CN=localhost server "${past[@]}"
issue serverFuture /CN=localhost server "${future[@]}"
issue revoked /CN=alice client
openssl ca -config ca.cnf -gencrl -out empty.crl
openssl ca -config ca.cnf -revoke revoked.crt
openssl ca -config ca.cnf -gencrl -out revoked.crl
openssl ca -config ca.cnf -gencrl -crl_lastupdate 20200101000000Z -crl_nextupdate 20200201000000Z -out expired.crl

# Other kinds of keys; and a signature that is not to be trusted any more.
# signAs NAME CA: signs NAME.key for localhost
signAs() {
  openssl req -new -key "$1.key" -subj /CN=localhost -out "$1.csr"
  printf 'subjectAltName=DNS:localhost,IP:127.0.0.1' >"$1.ext"
  openssl x509 -req -in "$1.csr" -CA root.crt -CAkey root.key -CAcreateserial -days 10 \
    -extfile "$1.ext" -out "$1.crt" "${@:2}"
}
openssl genpkey -algorithm ed25519 -out serverEd25519.key
signAs serverEd25519
openssl genrsa -out serverRsa.key 2048
signAs serverRsa
key sha1
openssl req -new -key sha1.key -subj /CN=alice -out sha1.csr
openssl x509 -req -sha1 -in sha1.csr -CA root.crt -CAkey root.key -CAcreateserial -days 10 -out sha1.crt
openssl pkcs12 -export -inkey serverRsa.key -in serverRsa.crt -out serverRsa.p12 -passout pass:
openssl pkcs12 -export -inkey serverEd25519.key -in serverEd25519.crt -out serverEd25519.p12 -passout pass:
openssl rsa -aes128 -traditional -in serverRsa.key -out serverRsaLocked.key -passout pass:correct-horse
openssl rsa -pubout -in serverRsa.key -out serverRsa.pub
openssl dhparam -dsaparam -out dh.pem 2048

# The same key and certificate in other forms.
openssl pkcs12 -export -inkey server.key -in server.crt -out server.p12 -passout pass:correct-horse
openssl pkcs12 -export -inkey serverExpired.key -in serverExpired.crt -out serverExpired.p12 -passout pass:
openssl pkcs8 -topk8 -in server.key -out serverLocked.key -v2 aes-256-cbc -passout pass:correct-horse
openssl x509 -in server.crt -outform DER -out server.der.crt
openssl ec -in server.key -outform DER -out server.der.key
printf 'hello\n' >garbage.pem
: >empty.pem
head -c 300 server.crt >cutOff.crt
cat root.crt server.crt >wrongOrder.crt
{ echo '-----BEGIN CERTIFICATE-----'; echo aGVsbG8=; echo '-----END CERTIFICATE-----'; } >notReally.crt
# As written before OpenSSL 3, which does not decrypt RC2 by itself.
openssl pkcs12 -export -legacy -inkey server.key -in server.crt -out legacy.p12 -passout pass:correct-horse
openssl pkcs12 -export -nokeys -in server.crt -out keyless.p12 -passout pass:
