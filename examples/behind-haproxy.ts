// npx tsx examples/behind-haproxy.ts
//
// Greets clients by their own address, behind a load balancer on this host. With HAProxy:
//   listen front
//     mode tcp
//     bind :7443
//     server app 127.0.0.1:7008 send-proxy-v2
// Without it: printf 'PROXY TCP4 192.0.2.7 192.0.2.1 40000 443\r\nhi' | socat - TCP:127.0.0.1:7008

import { Cio, proxyProtocol } from '../src/index.ts'

const app = new Cio()
  .useConnection(proxyProtocol({ trusted: ['127.0.0.1'], required: true }))
  .useConnection(({ stream, address, proxied }) => {
    // HAProxy's own health check is a `local` connection, with no client behind it.
    const where = proxied?.destination ? `, who came to ${proxied.destination.address}` : ''
    stream.write(`hello ${address}${where}\n`)
  })

app.on('remoteError', (error) => console.log(error.message))
app.on('reject', (error) => console.log(error.message))

const server = await app.listen({ host: '127.0.0.1', port: Number(process.env.PORT ?? 7008) })
console.log(`behind HAProxy on port ${server.port}`)
