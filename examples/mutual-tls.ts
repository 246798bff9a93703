// npx tsx examples/certificates.ts certs alice bob && npx tsx examples/mutual-tls.ts
//
// Accepts clients that have a certificate of our CA and are on the list, and greets each by name.
// Try it as alice, then as bob:
// openssl s_client -quiet -connect localhost:7004 -CAfile certs/ca.crt -cert certs/alice.crt \
//   -key certs/alice.key

import { Cio, allowList, certs } from '../src/index.ts'

const app = new Cio()
  .useServer(certs({ key: 'certs/server.key', cert: 'certs/server.crt', ca: 'certs/ca.crt' }))
  .useConnection(allowList(['alice', /^sensor-\d+$/]))
  .useConnection(async function greet({ stream, peer }) {
    stream.write(`hello ${peer?.name}\n`)
  })

app.on('reject', (error) => console.log(error.message))

const server = await app.listen(process.env.PORT ?? 7004)
console.log(`mutual TLS on port ${server.port}`)
