"""Layers with states, attention and preprocessing, for the tests of explanations: (class, layer,
shapes of its inputs)."""

import keras
import tf_keras
import torch

nn = torch.nn
LAYERS = [
    ("LSTM", nn.LSTM(4, 5, 2, batch_first=True, bidirectional=True), ((2, 6, 4),)),
    ("GRU", nn.GRU(4, 5), ((6, 2, 4),)),
    ("RNN", nn.RNN(4, 5, nonlinearity="relu"), ((6, 2, 4),)),
    ("LSTMCell", nn.LSTMCell(4, 5), ((2, 4),)),
    ("GRUCell", nn.GRUCell(4, 5), ((2, 4),)),
    ("RNNCell", nn.RNNCell(4, 5), ((2, 4),)),
    ("MultiheadAttention", nn.MultiheadAttention(8, 2, batch_first=True), ((2, 5, 8),) * 3),
    ("Rescaling", keras.layers.Rescaling(0.5, [0.1, -0.2, 0.3]), ((2, 4, 3),)),
    (
        "STFTSpectrogram",
        keras.layers.STFTSpectrogram(frame_length=16, frame_step=8, fft_length=16),
        ((2, 64, 1),),
    ),
    ("LocallyConnected1D", tf_keras.layers.LocallyConnected1D(3, 2), ((2, 6, 4),)),
]
