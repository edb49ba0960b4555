"""Report a fitted autoencoder as one HTML page: how well it trained, what it learned, and which problems it has.

Data flows one way: `collect` gets all results from the model, `diagnostics` finds problems, `figures` and `images`
draw, and `page` writes one file. In the browser ``page.js`` shows the charts, and ``runtime.js`` runs the decoder.
"""
