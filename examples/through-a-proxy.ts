// npx tsx examples/through-a-proxy.ts socks5://127.0.0.1:1080 127.0.0.1:7008
//
// A client that connects through a SOCKS5 or an HTTP proxy. To the server it sends a PROXY header
// first, as a load balancer would: start examples/behind-haproxy.ts, and give its port as the target.

import { socks5 } from '../middleware/socks5.ts'
import { Cio, httpConnect, sendProxyProtocol } from '../src/index.ts'

const [proxy = 'http://127.0.0.1:8080', target = '127.0.0.1:7008'] = process.argv.slice(2)
const { protocol, hostname: host, port } = new URL(proxy)
const { hostname, port: targetPort } = new URL(`tcp://${target}`)

const app = new Cio()
  .useClient(
    protocol === 'socks5:'
      ? socks5({ host, port: Number(port) })
      : httpConnect({ host, port: Number(port) }),
  )
  .useClient(
    sendProxyProtocol({
      header: {
        source: { address: '192.0.2.7', port: 40_000 },
        destination: { address: '192.0.2.1', port: 443 },
      },
    }),
  )

const client = await app.connect({ host: hostname, port: Number(targetPort) })
// The server speaks first. Do not end this side before it has: many proxies, microsocks among them, then
// end both.
for await (const chunk of client) process.stdout.write(String(chunk))
await client.close()
